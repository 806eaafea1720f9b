import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { root } from "../../app/root";
import { creationIn } from "../../parts/search";

export const routeRoutes = [
  createRoute({
    getParentRoute: () => root,
    path: "/routes",
    validateSearch: (search): { create?: true } => creationIn(search),
    component: lazyRouteComponent(() => import("./list"), "RouteList"),
  }),
] as const;
