import { createRoute, lazyRouteComponent } from "@tanstack/react-router";
import { root } from "../../app/root";
import { choiceIn, creationIn } from "../../parts/search";
import { FILTERS } from "./filters";
import { DELIVERY_STATES } from "./states";

export const webhookRoutes = [
  createRoute({
    getParentRoute: () => root,
    path: "/webhooks",
    validateSearch: (search) => ({ ...FILTERS.read(search), ...creationIn(search) }),
    component: lazyRouteComponent(() => import("./list"), "WebhookList"),
  }),
  createRoute({
    getParentRoute: () => root,
    path: "/webhooks/$id",
    validateSearch: (search) => choiceIn(search, "state", DELIVERY_STATES),
    component: lazyRouteComponent(() => import("./webhook"), "WebhookPage"),
  }),
] as const;
