/** All screens. A feature adds its routes here and its page in `navigation.ts`. */
import { createRouter } from "@tanstack/react-router";
import { accountRoutes } from "../features/accounts/routes";
import { aliasRoutes } from "../features/aliases/routes";
import { auditRoutes } from "../features/audit/routes";
import { configurationRoutes } from "../features/configuration/routes";
import { defenceRoutes } from "../features/defence/routes";
import { domainRoutes } from "../features/domains/routes";
import { homeRoutes } from "../features/home/routes";
import { keyRoutes } from "../features/keys/routes";
import { meRoutes } from "../features/me/routes";
import { messageRoutes } from "../features/messages/routes";
import { quarantineRoutes } from "../features/quarantine/routes";
import { queueRoutes } from "../features/queue/routes";
import { routeRoutes } from "../features/routes/routes";
import { suppressionRoutes } from "../features/suppressions/routes";
import { systemRoutes } from "../features/system/routes";
import { tenantRoutes } from "../features/tenants/routes";
import { webhookRoutes } from "../features/webhooks/routes";
import { Loading } from "../parts/notices";
import { root } from "./root";

const tree = root.addChildren([
  ...accountRoutes,
  ...aliasRoutes,
  ...auditRoutes,
  ...configurationRoutes,
  ...defenceRoutes,
  ...domainRoutes,
  ...homeRoutes,
  ...keyRoutes,
  ...meRoutes,
  ...messageRoutes,
  ...quarantineRoutes,
  ...queueRoutes,
  ...routeRoutes,
  ...suppressionRoutes,
  ...systemRoutes,
  ...tenantRoutes,
  ...webhookRoutes,
]);

export const router = createRouter({
  routeTree: tree,
  basepath: "/console",
  defaultPreload: "intent",
  defaultPendingComponent: Loading,
  scrollRestoration: true,
  /* an address stays readable in the address bar */
  pathParamsAllowedCharacters: ["@", "+"],
});

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}
