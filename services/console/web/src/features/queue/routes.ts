import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { root } from "../../app/root";
import { FILTERS } from "./filters";

export const queueRoutes = [
  createRoute({
    getParentRoute: () => root,
    path: "/queue",
    validateSearch: (search) => FILTERS.read(search),
    component: lazyRouteComponent(() => import("./queue"), "Queue"),
  }),
] as const;
