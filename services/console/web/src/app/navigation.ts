/** The pages of the navigation and of the palette, by what the caller may do. */
import type { OperationId } from "../api/client";

export interface Page {
  path: string;
  title: string;
  /** Shown to those who may use this operation; null: to everybody who is signed in. */
  needs: OperationId | null;
  group: "Mail" | "Directory" | "Operation" | "You";
}

export const PAGES: readonly Page[] = [
  { path: "/", title: "Home", needs: null, group: "Mail" },
  { path: "/find", title: "Find", needs: "searchMessages", group: "Mail" },
  { path: "/queue", title: "Queue", needs: "listQueue", group: "Mail" },
  { path: "/domains", title: "Domains", needs: "listDomains", group: "Directory" },
];

export const GROUPS = ["Mail", "Directory", "Operation", "You"] as const;
