import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { root } from "../../app/root";
import { choiceIn, creationIn } from "../../parts/search";
import { FILTERS } from "./filters";

export const domainRoutes = [
  createRoute({
    getParentRoute: () => root,
    path: "/domains",
    validateSearch: (search) => ({ ...FILTERS.read(search), ...creationIn(search) }),
    component: lazyRouteComponent(() => import("./list"), "DomainList"),
  }),
  createRoute({
    getParentRoute: () => root,
    path: "/domains/$name",
    validateSearch: (search) => choiceIn(search, "tab", ["settings", "dkim", "filter", "reports"]),
    component: lazyRouteComponent(() => import("./domain"), "DomainPage"),
  }),
] as const;
