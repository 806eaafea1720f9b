import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { root } from "../../app/root";
import { choiceIn } from "../../parts/search";
import { TABS } from "./tabs";

export const meRoutes = [
  createRoute({
    getParentRoute: () => root,
    path: "/me",
    validateSearch: (search) => choiceIn(search, "tab", TABS),
    component: lazyRouteComponent(() => import("./me"), "MyAccount"),
  }),
] as const;
