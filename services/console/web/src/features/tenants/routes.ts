import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { root } from "../../app/root";
import { creationIn } from "../../parts/search";
import { FILTERS } from "./filters";

export const tenantRoutes = [
  createRoute({
    getParentRoute: () => root,
    path: "/tenants",
    validateSearch: (search) => ({ ...FILTERS.read(search), ...creationIn(search) }),
    component: lazyRouteComponent(() => import("./list"), "TenantList"),
  }),
  createRoute({
    getParentRoute: () => root,
    path: "/tenants/$tenant",
    component: lazyRouteComponent(() => import("./tenant"), "TenantPage"),
  }),
] as const;
