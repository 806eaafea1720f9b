import { type ReactNode, useEffect } from "react";

/** A screen: its title, what can be done on it, and its content. */
export function Page(properties: { title: string; actions?: ReactNode; children: ReactNode }) {
  const { title, actions, children } = properties;
  useEffect(() => {
    document.title = `${title} – Posthorn`;
  }, [title]);
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
