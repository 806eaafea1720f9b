import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { root } from "../../app/root";
import { choiceIn, creationIn } from "../../parts/search";
import { FILTERS } from "./filters";
import { TABS } from "./tabs";

export const accountRoutes = [
  createRoute({
    getParentRoute: () => root,
    path: "/accounts",
    validateSearch: (search) => ({
      ...FILTERS.read(search),
      ...creationIn(search),
    }),
    component: lazyRouteComponent(() => import("./list"), "AccountList"),
  }),
  createRoute({
    getParentRoute: () => root,
    path: "/accounts/$address",
    validateSearch: (search) => choiceIn(search, "tab", TABS),
    component: lazyRouteComponent(() => import("./account"), "AccountPage"),
  }),
] as const;
