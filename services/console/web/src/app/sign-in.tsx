import { type FormEvent, useEffect, useState } from "react";
import { type Schemas, session } from "../api/client";
import { useSessionChange } from "../api/me";
import { useOne, useSession } from "../api/queries";
import { Field } from "../parts/form";
import { Failure } from "../parts/notices";

type Wish = Schemas["LoginRequest"];

/** Sign in by what the server offers: an API key, an account's password, the organisation's sign-in
 * page (OpenID Connect), or a one-time link, which comes in the address as `#link=…`. */
export function SignIn() {
  const changed = useSessionChange();
  const methods = useOne(["login-methods"], session.methods);
  const [way, setWay] = useState<"account" | "key">("account");
  const enter = useSession((wish: Wish) => session.enter(wish), changed);
  useEffect(() => {
    const link = new URLSearchParams(location.hash.slice(1)).get("link");
    if (link !== null) {
      history.replaceState(history.state, "", location.pathname + location.search);
      enter.mutate({ link });
    }
    document.title = "Sign in – Posthorn";
  }, [enter.mutate]);

  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const text = (name: string) => String(form.get(name) ?? "");
    enter.mutate(
      way === "key"
        ? { key: text("key").trim() }
        : { account: text("account").trim(), password: text("password") },
    );
  };

  return (
    <main className="sign-in">
      <h1>Posthorn</h1>
      <Failure problem={enter.error} />
      <form onSubmit={submit}>
        <fieldset className="tabs">
          <legend className="unseen">Sign in with</legend>
          <label>
            <input
              type="radio"
              name="way"
              checked={way === "account"}
              onChange={() => setWay("account")}
            />
            Account
          </label>
          <label>
            <input type="radio" name="way" checked={way === "key"} onChange={() => setWay("key")} />
            API key
          </label>
        </fieldset>
        {way === "key" ? (
          <Field
            key="key"
            name="key"
            label="API key"
            type="password"
            autoComplete="off"
            hint="It begins with ph_. It becomes a cookie that no script can read, and is not kept here."
            required
          />
        ) : (
          <>
            <Field
              key="account"
              name="account"
              label="Address"
              type="email"
              autoComplete="username"
              required
            />
            <Field
              name="password"
              label="Password"
              type="password"
              autoComplete="current-password"
              required
            />
          </>
        )}
        <button type="submit" className="primary" disabled={enter.isPending}>
          {enter.isPending ? "Signing in…" : "Sign in"}
        </button>
      </form>
      {methods.data?.oidc && (
        <p>
          <a
            className="button"
            href={`/v1/login/oidc?next=${encodeURIComponent(location.pathname + location.search)}`}
          >
            Sign in with {methods.data.oidc.name}
          </a>
        </p>
      )}
    </main>
  );
}
