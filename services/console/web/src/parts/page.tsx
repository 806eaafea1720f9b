import { type ReactNode, useEffect, useId } from "react";

/** A screen: its title, what can be done on it, and its content. `tab`: what the browser's tab is
 * called in place of the title. */
export function Page(properties: {
  title: string;
  tab?: string | undefined;
  actions?: ReactNode;
  children: ReactNode;
}) {
  const { title, tab = title, actions, children } = properties;
  useEffect(() => {
    document.title = `${tab} – Posthorn`;
  }, [tab]);
  return (
    <>
      <header className="page-head">
        <h1>{title}</h1>
        {actions && <div className="actions">{actions}</div>}
      </header>
      {children}
    </>
  );
}

/** A part of a screen with a heading of its own. */
export function Section(properties: { title: string; actions?: ReactNode; children: ReactNode }) {
  const { title, actions, children } = properties;
  const id = useId();
  return (
    <section className="section" aria-labelledby={id}>
      <header className="page-head">
        <h2 id={id}>{title}</h2>
        {actions && <div className="actions">{actions}</div>}
      </header>
      {children}
    </section>
  );
}

/** Names and values. */
export function Facts({ facts }: { facts: readonly (readonly [string, ReactNode])[] }) {
  return (
    <dl className="facts">
      {facts.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}
