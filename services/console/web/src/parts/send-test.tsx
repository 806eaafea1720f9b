import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { answer, api, once } from "../api/client";
import { useCan } from "../api/me";
import { useAction, useOne } from "../api/queries";
import { Dialog } from "./dialog";
import { Field, Form } from "./form";

/** Sends a test message, and leads to its timeline. `domain`: where the sender shall be; `to`: whom
 * it goes to, in place of the sender. */
export function SendTest(properties: {
  domain?: string;
  to?: string;
  label?: string;
  name?: string;
}) {
  const { domain, to, label = "Send a test message…", name } = properties;
  const can = useCan();
  const [isAsked, setIsAsked] = useState(false);
  if (!can("sendMessage")) return null;
  return (
    <>
      <button type="button" aria-label={name} onClick={() => setIsAsked(true)}>
        {label}
      </button>
      {isAsked && <TestForm domain={domain} to={to} close={() => setIsAsked(false)} />}
    </>
  );
}

function TestForm(properties: {
  domain: string | undefined;
  to: string | undefined;
  close: () => void;
}) {
  const { domain, to, close } = properties;
  const can = useCan();
  const navigate = useNavigate();
  const accounts = useOne(
    ["accounts", "sender", domain ?? ""],
    () =>
      answer(
        api.GET("/v1/accounts", {
          params: { query: { limit: 1, ...(domain === undefined ? {} : { domain }) } },
        }),
      ),
    { enabled: can("listAccounts") },
  );
  const first = accounts.data?.items[0]?.address ?? "";
  const send = useAction(
    ({ values, key }: { values: FormData; key: string }) =>
      api.POST("/v1/send", {
        body: {
          from: String(values.get("from")).trim(),
          to: [String(values.get("to")).trim()],
          subject: "Test message",
          text: "This is a test message. It needs no answer.\n",
        },
        headers: once(key),
      }),
    {
      changes: ["messages", "queue"],
      said: () => "Accepted: this is its timeline",
      done: (sent) => void navigate({ to: "/messages/$id", params: { id: sent.id } }),
    },
  );
  return (
    <Dialog title="Send a test message" close={close}>
      <Form
        key={first}
        action={send}
        read={(values, key) => ({ values, key })}
        label="Send and watch"
        cancel={close}
      >
        <Field
          name="from"
          label="From"
          type="email"
          hint="An account or alias here."
          defaultValue={first}
          problem={send.error}
          autoComplete="off"
          required
        />
        <Field
          name="to"
          label="To"
          type="email"
          hint="An address here, or elsewhere to see how others take it."
          defaultValue={to ?? first}
          problem={send.error}
          autoComplete="off"
          required
        />
      </Form>
    </Dialog>
  );
}
