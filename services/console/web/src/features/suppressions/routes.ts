import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { root } from "../../app/root";
import { creationIn } from "../../parts/search";
import { FILTERS } from "./filters";

export const suppressionRoutes = [
  createRoute({
    getParentRoute: () => root,
    path: "/suppressions",
    validateSearch: (search) => ({
      ...FILTERS.read(search),
      ...creationIn(search),
    }),
    component: lazyRouteComponent(() => import("./list"), "SuppressionList"),
  }),
] as const;
