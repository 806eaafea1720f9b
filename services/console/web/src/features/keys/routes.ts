import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { root } from "../../app/root";
import { creationIn } from "../../parts/search";

export const keyRoutes = [
  createRoute({
    getParentRoute: () => root,
    path: "/keys",
    validateSearch: (search): { create?: true } => creationIn(search),
    component: lazyRouteComponent(() => import("./list"), "KeyList"),
  }),
] as const;
