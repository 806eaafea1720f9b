import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { root } from "../../app/root";
import { type QuarantineFilters, quarantineFiltersIn } from "./filters";

export const quarantineRoutes = [
  createRoute({
    getParentRoute: () => root,
    path: "/quarantine",
    validateSearch: (search): QuarantineFilters => quarantineFiltersIn(search),
    component: lazyRouteComponent(() => import("./list"), "Quarantine"),
  }),
  createRoute({
    getParentRoute: () => root,
    path: "/quarantine/$id",
    component: lazyRouteComponent(() => import("./copy"), "QuarantinedCopy"),
  }),
] as const;
