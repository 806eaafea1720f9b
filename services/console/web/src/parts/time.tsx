import { useSyncExternalStore } from "react";
import { inUtc, relative } from "./moments";

const STORED = "posthorn.utc";
const listeners = new Set<() => void>();
let ticks = 0;

function tell() {
  ticks += 1;
  for (const listener of listeners) listener();
}
setInterval(() => {
  if (!document.hidden) tell();
}, 10_000);

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Whether times are shown exactly and in UTC, which this browser remembers. */
export function useUtc(): [boolean, (utc: boolean) => void] {
  const utc = useSyncExternalStore(subscribe, () => localStorage.getItem(STORED) === "yes");
  return [
    utc,
    (wanted) => {
      if (wanted) localStorage.setItem(STORED, "yes");
      else localStorage.removeItem(STORED);
      tell();
    },
  ];
}

/** A moment: relative, and exact when pointed at; or the other way. */
export function Time({ at }: { at: string | number | null | undefined }) {
  const [utc] = useUtc();
  useSyncExternalStore(subscribe, () => ticks);
  if (at === null || at === undefined) return <span className="weak">never</span>;
  const moment = typeof at === "number" ? at * 1000 : Date.parse(at);
  const exact = inUtc(moment);
  const about = relative(moment, Date.now());
  return (
    <time dateTime={new Date(moment).toISOString()} title={utc ? about : exact}>
      {utc ? exact : about}
    </time>
  );
}
