import { useState } from "react";
import { announce } from "./live";

/** Copies a text. */
export function Copy({ text, what, label }: { text: string; what: string; label?: string }) {
  const [isDone, setIsDone] = useState(false);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      announce(`This browser does not permit copying: select the text (${what}) and copy it`);
      return;
    }
    announce(`Copied: ${what}`);
    setIsDone(true);
    setTimeout(() => setIsDone(false), 2000);
  };
  return (
    <button type="button" className="copy" aria-label={`Copy ${what}`} onClick={() => void copy()}>
      {isDone ? "Copied" : (label ?? "Copy")}
    </button>
  );
}
