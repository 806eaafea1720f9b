import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { root } from "../../app/root";
import { creationIn } from "../../parts/search";
import { FILTERS } from "./filters";

export const routeRoutes = [
  createRoute({
    getParentRoute: () => root,
    path: "/routes",
    validateSearch: (search) => ({ ...FILTERS.read(search), ...creationIn(search) }),
    component: lazyRouteComponent(() => import("./list"), "RouteList"),
  }),
] as const;
