import { createRootRoute } from "@tanstack/react-router";
import { NoSuchPage } from "../parts/notices";
import { Shell } from "./shell";

/** The route above all screens. */
export const root = createRootRoute({ component: Shell, notFoundComponent: NoSuchPage });
