import { useNavigate } from "@tanstack/react-router";
import { useId, useState } from "react";
import { useCan, useMe } from "../api/me";
import { Dialog } from "../parts/dialog";
import { type Goal, goalsFor } from "./goals";
import { pagesOf } from "./navigation";

/** Ctrl-K: pages by name, and what a pasted text may be. */
export function Palette({ close }: { close: () => void }) {
  const can = useCan();
  const me = useMe().data;
  const navigate = useNavigate();
  const [text, setText] = useState("");
  const [at, setAt] = useState(0);
  const list = useId();
  const goals = goalsFor(text, pagesOf(me?.account != null, can), can);
  const chosen = Math.min(at, goals.length - 1);
  const go = (goal: Goal | undefined) => {
    if (goal === undefined) return;
    close();
    void navigate({ href: goal.href });
  };
  return (
    <Dialog title="Go to" close={close} className="palette">
      <input
        role="combobox"
        aria-expanded="true"
        aria-controls={list}
        aria-activedescendant={chosen >= 0 ? `${list}-${chosen}` : undefined}
        aria-label="Page, domain, address or id"
        placeholder="Page, domain, address or id"
        autoComplete="off"
        value={text}
        onChange={(event) => {
          setText(event.target.value);
          setAt(0);
        }}
        onKeyDown={(event) => {
          if (event.key === "ArrowDown") setAt(Math.min(chosen + 1, goals.length - 1));
          else if (event.key === "ArrowUp") setAt(Math.max(chosen - 1, 0));
          else if (event.key === "Enter") go(goals[chosen]);
          else return;
          event.preventDefault();
        }}
      />
      <div role="listbox" id={list} aria-label="Goals" tabIndex={-1}>
        {goals.map((goal, place) => (
          // biome-ignore lint/a11y/useKeyWithClickEvents: the keys are the input's
          <div
            key={goal.href}
            id={`${list}-${place}`}
            role="option"
            tabIndex={-1}
            aria-selected={place === chosen}
            onClick={() => go(goal)}
          >
            {goal.title} <span className="weak">{goal.kind}</span>
          </div>
        ))}
      </div>
      {goals.length === 0 && <p className="weak">Nothing has this name.</p>}
    </Dialog>
  );
}
