/** All screens. A feature adds its routes here and its page in `navigation.ts`. */
import { createRouter } from "@tanstack/react-router";
import { domainRoutes } from "../features/domains/routes";
import { homeRoutes } from "../features/home/routes";
import { messageRoutes } from "../features/messages/routes";
import { queueRoutes } from "../features/queue/routes";
import { Loading } from "../parts/notices";
import { root } from "./root";

const tree = root.addChildren([...homeRoutes, ...messageRoutes, ...queueRoutes, ...domainRoutes]);

export const router = createRouter({
  routeTree: tree,
  basepath: "/console",
  defaultPreload: "intent",
  defaultPendingComponent: Loading,
  scrollRestoration: true,
});

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}
