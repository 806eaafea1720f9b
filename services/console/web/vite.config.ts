import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

/* local mode, to which `python -m tools.console dev` passes requests on while somebody works on the console */
const API = "http://127.0.0.1:8080";

export default defineConfig({
  base: "/console/",
  plugins: [react()],
  build: {
    outDir: "../src/posthorn_console/files",
    emptyOutDir: true,
    assetsDir: "assets",
    /* nothing inline: the content security policy allows scripts and styles of this host alone */
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: "es2024",
  },
  server: { proxy: { "/v1": API } },
  test: { include: ["src/**/*.test.ts"] },
});
