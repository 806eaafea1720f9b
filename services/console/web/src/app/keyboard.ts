/** Keys: Ctrl-K palette, `/` search, `j` `k` rows, `x` tick, Enter opens, `?` help. */
import { useEffect } from "react";

export function useKeyboard(open: { palette: () => void; help: () => void }) {
  useEffect(() => {
    const handle = (event: KeyboardEvent) => {
      if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
        event.preventDefault();
        open.palette();
        return;
      }
      if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
      const act = actionOf(event.key, open);
      if (act !== undefined) {
        event.preventDefault();
        act();
      }
    };
    document.addEventListener("keydown", handle);
    return () => document.removeEventListener("keydown", handle);
  }, [open]);
}

function actionOf(key: string, open: { help: () => void }): (() => void) | undefined {
  switch (key) {
    case "/":
      return () => document.querySelector<HTMLElement>("main input[type=search]")?.focus();
    case "j":
      return () => moveRow(1);
    case "k":
      return () => moveRow(-1);
    case "x":
      return () => currentRow()?.querySelector<HTMLElement>("input[type=checkbox]")?.click();
    case "?":
      return open.help;
  }
  return undefined;
}

function currentRow(): HTMLTableRowElement | null {
  return document.activeElement?.closest<HTMLTableRowElement>("tr[data-row]") ?? null;
}

function moveRow(by: 1 | -1) {
  const rows = [...document.querySelectorAll<HTMLTableRowElement>("main tr[data-row]")];
  const current = currentRow();
  const at = current === null ? (by === 1 ? 0 : rows.length - 1) : rows.indexOf(current) + by;
  const row = rows[at];
  const goal = ["a", "button", "input"].map((tag) => row?.querySelector<HTMLElement>(tag));
  (goal.find((each) => each) ?? row)?.focus();
}

function isTyping(target: EventTarget | null): boolean {
  return (
    target instanceof HTMLElement &&
    (target.isContentEditable ||
      target.closest("dialog") !== null ||
      (target instanceof HTMLInputElement && target.type !== "checkbox") ||
      target instanceof HTMLTextAreaElement ||
      target instanceof HTMLSelectElement)
  );
}
