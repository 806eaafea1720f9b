import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { root } from "../../app/root";
import { type Filters, filtersIn } from "./filters";

export const messageRoutes = [
  createRoute({
    getParentRoute: () => root,
    path: "/find",
    validateSearch: (search): Filters => filtersIn(search),
    component: lazyRouteComponent(() => import("./find"), "Find"),
  }),
  createRoute({
    getParentRoute: () => root,
    path: "/messages/$id",
    validateSearch: (search): { view?: "all" | "json" } =>
      search.view === "all" || search.view === "json" ? { view: search.view } : {},
    component: lazyRouteComponent(() => import("./message"), "MessagePage"),
  }),
] as const;
