import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { root } from "../../app/root";
import { creationIn } from "../../parts/search";
import { FILTERS } from "./filters";

export const keyRoutes = [
  createRoute({
    getParentRoute: () => root,
    path: "/keys",
    validateSearch: (search) => ({ ...FILTERS.read(search), ...creationIn(search) }),
    component: lazyRouteComponent(() => import("./list"), "KeyList"),
  }),
] as const;
