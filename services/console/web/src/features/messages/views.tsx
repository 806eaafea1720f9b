import { Link } from "@tanstack/react-router";
import { type FormEvent, useState } from "react";
import { Dialog } from "../../parts/dialog";
import { Field } from "../../parts/form";
import { announce } from "../../parts/live";
import { useViews } from "../../parts/views";
import { type Filters, filtersIn } from "./filters";

/** Searches that this browser keeps under names, and what keeps the one that is shown. */
export function SavedViews({ filters }: { filters: Filters }) {
  const { views, keep, forget } = useViews("find");
  const [isAsked, setIsAsked] = useState(false);
  const isFiltered = Object.values(filters).some((value) => value !== undefined);
  const names = Object.keys(views);
  if (names.length === 0 && !isFiltered) return null;
  const save = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const name = String(new FormData(event.currentTarget).get("name") ?? "").trim();
    const chosen = Object.entries(filters).filter(([, value]) => value !== undefined);
    keep(name, Object.fromEntries(chosen));
    announce(`Saved the view ${name}`);
    setIsAsked(false);
  };
  const remove = (name: string) => {
    const view = views[name] ?? {};
    forget(name);
    announce(`Removed the view ${name}`, () => keep(name, view));
  };
  return (
    <nav className="filters" aria-label="Saved views">
      {names.map((name) => (
        <span key={name} className="split">
          <Link className="button" to="/find" search={filtersIn(views[name] ?? {})}>
            {name}
          </Link>
          <button type="button" aria-label={`Remove the view ${name}`} onClick={() => remove(name)}>
            ✕
          </button>
        </span>
      ))}
      {isFiltered && (
        <button type="button" className="quiet" onClick={() => setIsAsked(true)}>
          Save this view…
        </button>
      )}
      {isAsked && (
        <Dialog title="Save this view" close={() => setIsAsked(false)}>
          <form onSubmit={save}>
            <Field
              name="name"
              label="Name"
              hint="The search is kept in this browser under it. To share a search, copy its link."
              maxLength={40}
              autoComplete="off"
              required
              pattern=".*\S.*"
            />
            <div className="actions">
              <button type="submit" className="primary">
                Save view
              </button>
              <button type="button" onClick={() => setIsAsked(false)}>
                Cancel
              </button>
            </div>
          </form>
        </Dialog>
      )}
    </nav>
  );
}
