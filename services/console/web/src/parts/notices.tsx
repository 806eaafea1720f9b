import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import type { Problem } from "../api/problem";
import { Copy } from "./copy";
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

/** What the API said against a request: its title, its fields and the request's id. */
export function Failure({ problem, again }: { problem: Problem | null; again?: () => void }) {
  if (problem === null) return null;
  return (
    <Notice kind="bad" title={problem.title}>
      <p>{problem.detail}</p>
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
    <>
      <h1>No such page</h1>
      <p>
        There is nothing at this address. <Link to="/">Go to the first page</Link>.
      </p>
    </>
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

/** A command line to copy. */
export function Command({ text }: { text: string }) {
  return (
    <p className="command">
      <code>{text}</code> <Copy text={text} what="command" />
    </p>
  );
}
