/** Where the palette leads to: pages by name, and what a pasted text is by its form. */
import type { OperationId } from "../api/client";
import type { Page } from "./navigation";

export interface Goal {
  title: string;
  kind: string;
  href: string;
}

/** Domains and accounts that the API found by a part of their names. */
export interface Found {
  domains: readonly { name: string; display_name: string }[];
  accounts: readonly { address: string }[];
}

const NONE: Found = { domains: [], accounts: [] };
const ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const DOMAIN = /^[^\s@/]+\.[^\s@/.]{2,}$/;
const ADDRESS = /^[^\s@]+@[^\s@]+$/;

export function goalsFor(
  text: string,
  pages: readonly Page[],
  can: (operation: OperationId) => boolean,
  found: Found = NONE,
): Goal[] {
  const wanted = text.trim();
  const goals: Goal[] = [];
  const add = (needs: OperationId, title: string, kind: string, href: string) => {
    const goal = { title, kind, href: `/console${href}` };
    if (can(needs) && !goals.some((each) => each.href === goal.href)) goals.push(goal);
  };
  const part = encodeURIComponent(wanted);
  if (ID.test(wanted)) add("traceMessage", wanted, "message", `/messages/${part}`);
  if (ADDRESS.test(wanted) && !wanted.startsWith("<"))
    add("getAccount", wanted, "account", `/accounts/${part}`);
  if (DOMAIN.test(wanted)) add("getDomain", wanted, "domain", `/domains/${part}`);
  for (const { name, display_name: title } of found.domains)
    add("getDomain", title, "domain", `/domains/${encodeURIComponent(name)}`);
  for (const { address } of found.accounts)
    add("getAccount", address, "account", `/accounts/${encodeURIComponent(address)}`);
  if (wanted.length > 2) add("searchMessages", wanted, "find messages", `/find?q=${part}`);
  const small = wanted.toLowerCase();
  for (const page of pages)
    if (page.title.toLowerCase().includes(small))
      goals.push({ title: page.title, kind: "page", href: `/console${page.path}` });
  return goals;
}
