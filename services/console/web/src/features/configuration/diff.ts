/** A plan of the API as lines of a diff. */
import type { Schemas } from "../../api/client";

type Document = Schemas["ConfigDocument"];
type Change = Schemas["ConfigChange"];

export interface DiffLine {
  sign: "+" | "-" | "~";
  text: string;
}

const NAMES = { domain: "name", account: "address", alias: "address", route: "domain" } as const;
const LISTS = {
  domain: "domains",
  account: "accounts",
  alias: "aliases",
  webhook: "webhooks",
  route: "routes",
} as const;

/** Return the document in a pasted text. Throws Error with what is wrong with it. */
export function documentIn(text: string): Document {
  let found: unknown;
  try {
    found = JSON.parse(text);
  } catch (failure) {
    throw new Error(
      `This is not JSON: ${failure instanceof Error ? failure.message : String(failure)}`,
    );
  }
  if (typeof found !== "object" || found === null || Array.isArray(found))
    throw new Error("A configuration is an object with lists, such as domains and accounts.");
  return found as Document;
}

/** Return a number of changes in words. */
export function numberOf(changes: number): string {
  return changes === 1 ? "1 change" : `${changes} changes`;
}

/** Return a change line by line: what is there goes, what is set comes. */
export function linesOf(change: Change, now: Document): DiffLine[] {
  if (change.action === "delete") return [{ sign: "-", text: `${change.kind} ${change.object}` }];
  const present = change.action === "change" ? found(change, now) : {};
  const sign = change.action === "create" ? "+" : "~";
  const lines: DiffLine[] = [{ sign, text: `${change.kind} ${change.object}` }];
  for (const [name, value] of Object.entries(change.fields)) {
    if (name in present) lines.push({ sign: "-", text: `${name}: ${shown(present[name])}` });
    lines.push({ sign: "+", text: `${name}: ${shown(value)}` });
  }
  return lines;
}

function found(change: Change, now: Document): Readonly<Record<string, unknown>> {
  const objects: readonly Readonly<Record<string, unknown>>[] = now[LISTS[change.kind]] ?? [];
  const object = objects.find((each) =>
    change.kind === "webhook"
      ? change.object === each.url || change.object === `${each.url} ${each.domain}`
      : each[NAMES[change.kind]] === change.object,
  );
  return object ?? {};
}

function shown(value: unknown): string {
  if (value === null || value === undefined) return "none";
  return typeof value === "string" ? value : JSON.stringify(value);
}
