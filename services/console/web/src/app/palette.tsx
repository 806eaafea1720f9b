import { useNavigate } from "@tanstack/react-router";
import { useEffect, useId, useState } from "react";
import { answer, api } from "../api/client";
import { useCan, useMe } from "../api/me";
import { useOne } from "../api/queries";
import { Dialog } from "../parts/dialog";
import { type Found, type Goal, goalsFor } from "./goals";
import { pagesOf } from "./navigation";

const PAUSE_MILLISECONDS = 250;
const SHOWN = 5;

/** Ask for domains and accounts whose names hold a text, once no more of it is typed. */
function useFound(text: string): Found {
  const can = useCan();
  const [wanted, setWanted] = useState("");
  useEffect(() => {
    const timer = setTimeout(() => setWanted(text.trim()), PAUSE_MILLISECONDS);
    return () => clearTimeout(timer);
  }, [text]);
  const isPart = wanted.length > 1 && !/\s/.test(wanted);
  const query = { q: wanted, limit: SHOWN };
  const domains = useOne(
    ["domains", "palette", wanted],
    () => answer(api.GET("/v1/domains", { params: { query } })),
    { enabled: isPart && can("listDomains") },
  );
  const accounts = useOne(
    ["accounts", "palette", wanted],
    () => answer(api.GET("/v1/accounts", { params: { query } })),
    { enabled: isPart && can("listAccounts") },
  );
  return { domains: domains.data?.items ?? [], accounts: accounts.data?.items ?? [] };
}

/** Ctrl-K: pages, domains and accounts by a part of their names, and what a pasted text may be. */
export function Palette({ close }: { close: () => void }) {
  const can = useCan();
  const me = useMe().data;
  const navigate = useNavigate();
  const [text, setText] = useState("");
  const [at, setAt] = useState(0);
  const list = useId();
  const found = useFound(text);
  const goals = goalsFor(text, pagesOf(me?.account != null, can), can, found);
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
