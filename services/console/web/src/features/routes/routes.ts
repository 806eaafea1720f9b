import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { root } from "../../app/root";
import { creationIn, type Search, textsIn } from "../../parts/search";
import { FILTERS } from "./filters";

/** Return the domain of a new route, as it stands in the address. */
function domainIn(search: Search): { domain?: string } {
  return textsIn(search, ["domain"]);
}

export const routeRoutes = [
  createRoute({
    getParentRoute: () => root,
    path: "/routes",
    validateSearch: (search) => ({
      ...FILTERS.read(search),
      ...creationIn(search),
      ...domainIn(search),
    }),
    component: lazyRouteComponent(() => import("./list"), "RouteList"),
  }),
] as const;
