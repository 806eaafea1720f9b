import { lazy, type ReactNode, Suspense, useEffect, useState } from "react";
import type { Schemas } from "../../api/client";
import { useAction } from "../../api/queries";
import { Dialog } from "../dialog";
import { Field, Form } from "../form";
import { Loading, Notice } from "../notices";
import { Section } from "../page";

export type ClientServer = Schemas["ClientServerView"];

export interface PhoneWish {
  name: string;
  displayName: string;
  key: string;
}

const QrCode = lazy(() => import("./qr").then((module) => ({ default: module.QrCode })));
const SHOWN_MILLISECONDS = 120_000;

/** What a mail client is set up with, and a QR code for a phone. `make`: creates an app password
 * and returns the text of a code; null if there is none. */
export function SetUp(properties: {
  address: string;
  servers: readonly ClientServer[];
  make: ((wish: PhoneWish) => Promise<string | null>) | false;
  children?: ReactNode;
}) {
  const { address, servers, make, children } = properties;
  const [isAsked, setIsAsked] = useState(false);
  return (
    <Section
      title="Client settings"
      actions={
        make && (
          <button type="button" onClick={() => setIsAsked(true)}>
            QR code for a phone…
          </button>
        )
      }
    >
      <p>
        User name: <code>{address}</code>
      </p>
      <ul>
        {servers.map((server) => (
          <li key={`${server.protocol} ${server.port}`}>
            {server.protocol.toUpperCase()} <code>{server.host}</code>, port {server.port},{" "}
            {server.security === "tls" ? "TLS" : "STARTTLS"}
          </li>
        ))}
      </ul>
      {children}
      {isAsked && make && <Phone address={address} make={make} close={() => setIsAsked(false)} />}
    </Section>
  );
}

function Phone(properties: {
  address: string;
  make: (wish: PhoneWish) => Promise<string | null>;
  close: () => void;
}) {
  const { address, make, close } = properties;
  const [code, setCode] = useState<string | null>(null);
  const create = useAction(make, {
    changes: ["app-passwords"],
    said: () => "Created an app password",
    done: setCode,
  });
  // biome-ignore lint/correctness/useExhaustiveDependencies: another `close` does not begin anew
  useEffect(() => {
    if (code === null) return;
    const timer = setTimeout(close, SHOWN_MILLISECONDS);
    return () => clearTimeout(timer);
  }, [code]);
  if (code !== null)
    return (
      <Dialog title="Scan with Thunderbird for Android" close={close} keeps>
        <p>
          The code holds a new app password. It is shown for two minutes; delete the app password to
          withdraw it.
        </p>
        <Suspense fallback={<Loading />}>
          <QrCode text={code} label={`QR code that sets up ${address}`} />
        </Suspense>
        <div className="actions">
          <button type="button" className="primary" onClick={close}>
            Done
          </button>
        </div>
      </Dialog>
    );
  return (
    <Dialog title="QR code for a phone" close={close}>
      {create.isSuccess && (
        <Notice kind="bad" title="No code could be made">
          The app password was created, and cannot be shown again: delete it, and use a shorter name
          next time.
        </Notice>
      )}
      <Form
        send={(values, key) =>
          create.mutate({
            name: String(values.get("name")).trim(),
            displayName: String(values.get("display_name") ?? "").trim(),
            key,
          })
        }
        problem={create.error}
        isRunning={create.isPending}
        action="Create app password and show code"
        cancel={close}
      >
        <Field
          name="name"
          label="Name of the app password"
          defaultValue="phone"
          problem={create.error}
          autoComplete="off"
          required
        />
        <Field
          name="display_name"
          label="Name shown to others"
          hint="Put beside the address of what the phone sends."
          problem={create.error}
          maxLength={100}
          autoComplete="off"
        />
      </Form>
    </Dialog>
  );
}
