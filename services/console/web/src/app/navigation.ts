/** The pages of the navigation and of the palette, by what the caller may do. */
import type { OperationId } from "../api/client";

export interface Page {
  path: string;
  title: string;
  /** Shown to those who may use this operation; null: to all but the holders of accounts. */
  needs: OperationId | null;
  group: "Mail" | "Directory" | "Operation" | "You";
}

export const PAGES: readonly Page[] = [
  { path: "/", title: "Home", needs: null, group: "Mail" },
  { path: "/find", title: "Find", needs: "searchMessages", group: "Mail" },
  { path: "/queue", title: "Queue", needs: "listQueue", group: "Mail" },
  { path: "/quarantine", title: "Quarantine", needs: "listQuarantine", group: "Mail" },
  { path: "/suppressions", title: "Suppressions", needs: "listSuppressions", group: "Mail" },
  { path: "/domains", title: "Domains", needs: "listDomains", group: "Directory" },
  { path: "/accounts", title: "Accounts", needs: "listAccounts", group: "Directory" },
  { path: "/aliases", title: "Aliases", needs: "listAliases", group: "Directory" },
  { path: "/tenants", title: "Tenants", needs: "listTenants", group: "Directory" },
  { path: "/configuration", title: "Configuration", needs: "getConfig", group: "Directory" },
  { path: "/system", title: "System", needs: "getSystem", group: "Operation" },
  { path: "/routes", title: "Routes", needs: "listRoutes", group: "Operation" },
  { path: "/webhooks", title: "Webhooks", needs: "listWebhooks", group: "Operation" },
  { path: "/keys", title: "API keys", needs: "listApiKeys", group: "Operation" },
  { path: "/audit", title: "Audit", needs: "listAudit", group: "Operation" },
  { path: "/defence", title: "Defence", needs: "getDefence", group: "Operation" },
  { path: "/dead-letters", title: "Parked messages", needs: "listDeadLetters", group: "Operation" },
  { path: "/me", title: "My account", needs: "changeMyPassword", group: "You" },
];

/** Return the pages of a caller, who may be the holder of an account. */
export function pagesOf(
  isAccount: boolean,
  can: (operation: OperationId) => boolean,
): readonly Page[] {
  return PAGES.filter(({ needs }) => (needs === null ? !isAccount : can(needs)));
}

export const GROUPS = ["Mail", "Directory", "Operation", "You"] as const;
