/** Views of a screen that this browser keeps under names: their filters as they stand in the address. */
import { useSyncExternalStore } from "react";

const STORED = "posthorn.views.";
const MOST = 50;
const listeners = new Set<() => void>();

export type Views = Readonly<Record<string, Readonly<Record<string, string>>>>;

/** Return the views in a stored text; none where it is not one of ours. */
export function viewsIn(text: string | null): Views {
  try {
    const found: unknown = JSON.parse(text ?? "{}");
    if (typeof found !== "object" || found === null || Array.isArray(found)) return {};
    return Object.fromEntries(Object.entries(found).map(([name, view]) => [name, textsOf(view)]));
  } catch {
    return {};
  }
}

function textsOf(view: unknown): Record<string, string> {
  const entries = Object.entries(typeof view === "object" && view !== null ? view : {});
  return Object.fromEntries(entries.filter(([, value]) => typeof value === "string"));
}

/** The views of a screen, and what keeps or forgets one. The oldest goes where there are too many. */
export function useViews(screen: string) {
  const key = STORED + screen;
  const text = useSyncExternalStore(subscribe, () => localStorage.getItem(key));
  const views = viewsIn(text);
  const write = (changed: Views) => {
    const kept = Object.entries(changed).slice(-MOST);
    localStorage.setItem(key, JSON.stringify(Object.fromEntries(kept)));
    for (const listener of listeners) listener();
  };
  return {
    views,
    keep: (name: string, view: Readonly<Record<string, string>>) => {
      const { [name]: _, ...others } = views;
      write({ ...others, [name]: view });
    },
    forget: (name: string) => {
      const { [name]: _, ...others } = views;
      write(others);
    },
  };
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}
