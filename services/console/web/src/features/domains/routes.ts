import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { root } from "../../app/root";
import { choiceIn } from "../../parts/search";

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
    validateSearch: (search) => choiceIn(search, "tab", ["settings", "dkim", "reports"]),
    component: lazyRouteComponent(() => import("./domain"), "DomainPage"),
  }),
] as const;
