import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { root } from "../../app/root";
import { type QueueFilters, queueFiltersIn } from "./filters";

export const queueRoutes = [
  createRoute({
    getParentRoute: () => root,
    path: "/queue",
    validateSearch: (search): QueueFilters => queueFiltersIn(search),
    component: lazyRouteComponent(() => import("./queue"), "Queue"),
  }),
] as const;
