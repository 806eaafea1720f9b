import { useState } from "react";
import { api, once, session } from "../../api/client";
import { useCan } from "../../api/me";
import { useAction, useOne } from "../../api/queries";
import { Dialog } from "../../parts/dialog";
import { Field, Form } from "../../parts/form";

/** Ends all sessions that a person has by single sign-on, where that is set up. */
export function EndSessions() {
  const may = useCan()("endSessions");
  const methods = useOne(["login-methods"], session.methods, { enabled: may });
  const [isAsked, setIsAsked] = useState(false);
  if (!may || !methods.data?.oidc) return null;
  return (
    <>
      <button type="button" onClick={() => setIsAsked(true)}>
        End sessions…
      </button>
      {isAsked && <EndDialog issuer={methods.data.oidc.name} close={() => setIsAsked(false)} />}
    </>
  );
}

function EndDialog({ issuer, close }: { issuer: string; close: () => void }) {
  const end = useAction(
    ({ subject, key }: { subject: string; key: string }) =>
      api.POST("/v1/login/sessions/end", { body: { subject }, headers: once(key) }),
    { changes: [], said: ({ ended }) => `Ended sessions: ${ended}`, done: close },
  );
  return (
    <Dialog title="End all sessions of a person" close={close}>
      <Form
        action={end}
        read={(values, key) => ({ subject: String(values.get("subject")).trim(), key })}
        label="End all sessions"
        cancel={close}
      >
        <p>
          Take the role away at {issuer} first, or the person signs in again. Sessions that an API
          key opened end when the key is deleted.
        </p>
        <Field
          name="subject"
          label="Subject"
          hint="The claim sub of the person's tokens: the caller in the audit log, without oidc:"
          problem={end.error}
          autoComplete="off"
          required
        />
      </Form>
    </Dialog>
  );
}
