import { Link, Outlet, useRouterState } from "@tanstack/react-router";
import { useEffect, useRef, useState, useSyncExternalStore } from "react";
import { session } from "../api/client";
import { type Me, useCan, useMe, useSessionChange } from "../api/me";
import { useSession } from "../api/queries";
import { announced, announcedUndo, announcements, onAnnouncement } from "../parts/live";
import { Failure, Loading } from "../parts/notices";
import { useUtc } from "../parts/time";
import { Help } from "./help";
import { useKeyboard } from "./keyboard";
import { GROUPS, pagesOf } from "./navigation";
import { Palette } from "./palette";
import { SignIn } from "./sign-in";

const SHOWN_MILLISECONDS = 8000;
const UNDO_MILLISECONDS = 20_000;

/** What is around every screen: navigation, the palette, and the sign-in page in place of it all
 * while nobody is signed in. The address stays, so that signing in leads back. */
export function Shell() {
  const me = useMe();
  if (me.error?.status === 401) return <SignIn />;
  if (me.data === undefined)
    return (
      <main className="sign-in">
        <h1>Posthorn</h1>
        {me.isPending ? <Loading /> : <Failure problem={me.error} again={() => me.refetch()} />}
      </main>
    );
  return <Frame me={me.data} />;
}

function Frame({ me }: { me: Me }) {
  const [opened, setOpened] = useState<"palette" | "help" | null>(null);
  const main = useRef<HTMLElement>(null);
  const path = useRouterState({ select: (state) => state.location.pathname });
  useKeyboard({ palette: () => setOpened("palette"), help: () => setOpened("help") });
  // biome-ignore lint/correctness/useExhaustiveDependencies: the focus moves when the path does
  useEffect(() => {
    main.current?.focus({ preventScroll: true });
  }, [path]);
  return (
    <div className="frame">
      <a className="skip" href="#main">
        Skip to content
      </a>
      <Navigation me={me} openPalette={() => setOpened("palette")} />
      <main id="main" tabIndex={-1} ref={main}>
        <Outlet />
      </main>
      <Announcements />
      {opened === "palette" && <Palette close={() => setOpened(null)} />}
      {opened === "help" && <Help close={() => setOpened(null)} />}
    </div>
  );
}

function Navigation({ me, openPalette }: { me: Me; openPalette: () => void }) {
  const can = useCan();
  const pages = pagesOf(me.account !== null, can);
  const path = useRouterState({ select: (state) => state.location.pathname });
  const [unfoldedAt, setUnfoldedAt] = useState<string | null>(null);
  const isFolded = unfoldedAt !== path;
  return (
    <header className={isFolded ? "side folded" : "side"}>
      <div className="brand">
        <Link to="/" className="brand-name">
          Posthorn
        </Link>
        <button type="button" className="quiet" onClick={openPalette} aria-keyshortcuts="Control+K">
          Go to… <kbd>Ctrl K</kbd>
        </button>
        <button
          type="button"
          className="fold"
          aria-expanded={!isFolded}
          onClick={() => setUnfoldedAt(isFolded ? path : null)}
        >
          Menu
        </button>
      </div>
      <nav aria-label="Pages">
        {GROUPS.map((group) => {
          const shown = pages.filter((page) => page.group === group);
          if (shown.length === 0) return null;
          return (
            <section key={group}>
              <h2>{group}</h2>
              <ul>
                {shown.map((page) => (
                  <li key={page.path}>
                    <Link to={page.path} activeOptions={{ exact: page.path === "/" }}>
                      {page.title}
                    </Link>
                  </li>
                ))}
              </ul>
            </section>
          );
        })}
      </nav>
      <Caller me={me} />
    </header>
  );
}

function Caller({ me }: { me: Me }) {
  const changed = useSessionChange();
  const [utc, setUtc] = useUtc();
  const leave = useSession(session.leave, () => changed(null));
  return (
    <section className="caller" aria-label="Signed in">
      <p>
        <strong>{me.account?.address ?? me.name}</strong>
        {me.account === null && (
          <span className="weak">
            <br />
            {me.role}
            {me.tenant && ` of ${me.tenant.name}`}
          </span>
        )}
      </p>
      <label className="switch">
        <input type="checkbox" checked={utc} onChange={(event) => setUtc(event.target.checked)} />
        Times in UTC
      </label>
      <button type="button" className="quiet" onClick={() => leave.mutate()}>
        Sign out
      </button>
      <p className="weak">
        Version {me.version} · <a href="/docs">API reference</a>
      </p>
    </section>
  );
}

function Announcements() {
  useSyncExternalStore(onAnnouncement, announcements);
  const text = announced();
  const undo = announcedUndo();
  const number = announcements();
  const [closed, setClosed] = useState(0);
  useEffect(() => {
    const timer = setTimeout(
      () => setClosed(number),
      undo ? UNDO_MILLISECONDS : SHOWN_MILLISECONDS,
    );
    return () => clearTimeout(timer);
  }, [number, undo]);
  return (
    <div className="announcements" role="status" aria-live="polite">
      {number > closed && (
        <p key={number}>
          {text}
          {undo && (
            <button
              type="button"
              onClick={() => {
                setClosed(number);
                undo();
              }}
            >
              Undo
            </button>
          )}
        </p>
      )}
    </div>
  );
}
