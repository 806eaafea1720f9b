import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { root } from "../../app/root";
import { textsIn } from "../../parts/search";

export const auditRoutes = [
  createRoute({
    getParentRoute: () => root,
    path: "/audit",
    validateSearch: (search) => textsIn(search, ["actor", "action", "object", "since", "until"]),
    component: lazyRouteComponent(() => import("./list"), "Audit"),
  }),
] as const;
