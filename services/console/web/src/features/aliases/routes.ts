import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { root } from "../../app/root";
import { creationIn, textsIn } from "../../parts/search";

export const aliasRoutes = [
  createRoute({
    getParentRoute: () => root,
    path: "/aliases",
    validateSearch: (search): { domain?: string; create?: true } => ({
      ...textsIn(search, ["domain"]),
      ...creationIn(search),
    }),
    component: lazyRouteComponent(() => import("./list"), "AliasList"),
  }),
  createRoute({
    getParentRoute: () => root,
    path: "/aliases/$address",
    component: lazyRouteComponent(() => import("./alias"), "AliasPage"),
  }),
] as const;
