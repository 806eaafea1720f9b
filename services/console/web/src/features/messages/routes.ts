import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { root } from "../../app/root";
import { choiceIn } from "../../parts/search";
import { type Filters, filtersIn } from "./filters";

/** Views of a message; without one, its events by recipient. */
const VIEWS = ["compact", "all", "json"] as const;

export const messageRoutes = [
  createRoute({
    getParentRoute: () => root,
    path: "/find",
    validateSearch: (search): Filters => filtersIn(search),
    component: lazyRouteComponent(() => import("./find"), "Find"),
  }),
  createRoute({
    getParentRoute: () => root,
    path: "/messages/$id",
    validateSearch: (search) => choiceIn(search, "view", VIEWS),
    component: lazyRouteComponent(() => import("./message"), "MessagePage"),
  }),
] as const;
