import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { root } from "../../app/root";
import { creationIn, textsIn } from "../../parts/search";

export const suppressionRoutes = [
  createRoute({
    getParentRoute: () => root,
    path: "/suppressions",
    validateSearch: (search): { domain?: string; create?: true; import?: true } => ({
      ...textsIn(search, ["domain"]),
      ...creationIn(search),
    }),
    component: lazyRouteComponent(() => import("./list"), "SuppressionList"),
  }),
] as const;
