import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { root } from "../../app/root";
import { choiceIn, creationIn, textsIn } from "../../parts/search";
import { TABS } from "./tabs";

export const accountRoutes = [
  createRoute({
    getParentRoute: () => root,
    path: "/accounts",
    validateSearch: (search): { domain?: string; create?: true; import?: true } => ({
      ...textsIn(search, ["domain"]),
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
