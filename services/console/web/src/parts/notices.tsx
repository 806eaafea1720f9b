import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import type { Problem } from "../api/problem";
import { Copy } from "./copy";
import { Page } from "./page";
import { type Kind, Mark } from "./state";

/** Something to know, on the page. */
export function Notice(properties: { kind: Kind; title: string; children?: ReactNode }) {
  const { kind, title, children } = properties;
  return (
    <div className={`notice ${kind}`} role={kind === "bad" ? "alert" : undefined}>
      <p className="notice-title">
        <Mark kind={kind} /> {title}
      </p>
      {children && <div>{children}</div>}
    </div>
  );
}

/** What the API said against a request: what is wrong, with which fields, and the request's id. */
export function Failure({ problem, again }: { problem: Problem | null; again?: () => void }) {
  if (problem === null) return null;
  return (
    <Notice kind="bad" title={problem.said}>
      {problem.status === 403 && (
        <p>Your sign-in does not include this right. Somebody who manages keys can grant it.</p>
      )}
      {problem.fields.length > 0 && (
        <ul>
          {problem.fields.map((fault) => (
            <li key={fault.field}>
              <code>{fault.field}</code>: {fault.message}
            </li>
          ))}
        </ul>
      )}
      {problem.requestId && (
        <p className="weak">
          Request <code>{problem.requestId}</code>{" "}
          <Copy text={problem.requestId} what="request id" />
        </p>
      )}
      {again && (
        <button type="button" onClick={again}>
          Try again
        </button>
      )}
    </Notice>
  );
}

export function Loading() {
  return (
    <p className="loading" role="status">
      Loading…
    </p>
  );
}

export function NoSuchPage() {
  return (
    <Page title="No such page">
      <p>
        There is nothing at this address. <Link to="/">Go to the first page</Link>.
      </p>
    </Page>
  );
}

/** A page with nothing on it yet teaches the next step, and the command that does the same. */
export function Empty(properties: { title: string; command?: string; children?: ReactNode }) {
  const { title, command, children } = properties;
  return (
    <div className="empty">
      <p className="empty-title">{title}</p>
      {children}
      {command && <Command text={command} />}
    </div>
  );
}

/** A list that is empty because of its filters. */
export function NothingMatches({ clear }: { clear: () => void }) {
  return (
    <Empty title="Nothing matches the filters">
      <button type="button" onClick={clear}>
        Clear filters
      </button>
    </Empty>
  );
}

/** A command line to copy. */
export function Command({ text }: { text: string }) {
  return (
    <p className="command">
      <code>{text}</code> <Copy text={text} what="command" />
    </p>
  );
}
