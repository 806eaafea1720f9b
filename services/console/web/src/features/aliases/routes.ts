import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { root } from "../../app/root";
import { creationIn } from "../../parts/search";
import { FILTERS } from "./filters";

export const aliasRoutes = [
  createRoute({
    getParentRoute: () => root,
    path: "/aliases",
    validateSearch: (search) => ({ ...FILTERS.read(search), ...creationIn(search) }),
    component: lazyRouteComponent(() => import("./list"), "AliasList"),
  }),
  createRoute({
    getParentRoute: () => root,
    path: "/aliases/$address",
    component: lazyRouteComponent(() => import("./alias"), "AliasPage"),
  }),
] as const;
