import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { root } from "../../app/root";

export const defenceRoutes = [
  createRoute({
    getParentRoute: () => root,
    path: "/defence",
    component: lazyRouteComponent(() => import("./defence"), "Defence"),
  }),
  createRoute({
    getParentRoute: () => root,
    path: "/dead-letters",
    component: lazyRouteComponent(() => import("./parked"), "Parked"),
  }),
] as const;
