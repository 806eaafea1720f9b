import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { root } from "../../app/root";
import { textsIn } from "../../parts/search";

export const configurationRoutes = [
  createRoute({
    getParentRoute: () => root,
    path: "/configuration",
    validateSearch: (search) => textsIn(search, ["tenant"]),
    component: lazyRouteComponent(() => import("./configuration"), "Configuration"),
  }),
] as const;
