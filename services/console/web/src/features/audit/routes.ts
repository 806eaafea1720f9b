import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { root } from "../../app/root";
import { FILTERS } from "./filters";

export const auditRoutes = [
  createRoute({
    getParentRoute: () => root,
    path: "/audit",
    validateSearch: (search) => FILTERS.read(search),
    component: lazyRouteComponent(() => import("./list"), "Audit"),
  }),
] as const;
