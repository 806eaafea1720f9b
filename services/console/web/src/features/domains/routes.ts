import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { root } from "../../app/root";

export const domainRoutes = [
  createRoute({
    getParentRoute: () => root,
    path: "/domains",
    validateSearch: (search): { create?: true } => (search.create === true ? { create: true } : {}),
    component: lazyRouteComponent(() => import("./list"), "DomainList"),
  }),
  createRoute({
    getParentRoute: () => root,
    path: "/domains/$name",
    validateSearch: (search): { tab?: "settings" } =>
      search.tab === "settings" ? { tab: "settings" } : {},
    component: lazyRouteComponent(() => import("./domain"), "DomainPage"),
  }),
] as const;
