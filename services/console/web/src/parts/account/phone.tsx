import { lazy, type ReactNode, Suspense, useEffect, useState } from "react";
import type { Call } from "../../api/call";
import type { Schemas } from "../../api/client";
import { useAction } from "../../api/queries";
import { Copy } from "../copy";
import { Dialog } from "../dialog";
import { Field, Form } from "../form";
import { Loading, Notice } from "../notices";
import { Section } from "../page";
import { type Column, RowTable } from "../table";

export type ClientServer = Schemas["ClientServerView"];

const USES: Readonly<Record<string, string>> = {
  imap: "Read (IMAP)",
  pop3: "Fetch (POP3)",
  smtp: "Send (SMTP)",
};

const COLUMNS: readonly Column<ClientServer>[] = [
  { id: "use", title: "For", cell: ({ protocol }) => USES[protocol] ?? protocol },
  {
    id: "host",
    title: "Server",
    cell: ({ host }) => (
      <>
        <code>{host}</code> <Copy text={host} what="server" />
      </>
    ),
  },
  { id: "port", title: "Port", cell: ({ port }) => port },
  {
    id: "security",
    title: "Security",
    cell: ({ security }) => (security === "tls" ? "TLS" : "STARTTLS"),
  },
];

export interface PhoneWish {
  name: string;
  displayName: string;
  key: string;
}

/** How an app password for a phone is created, and the text of a code in what that answers; null if
 * there is none. */
export interface PhoneMaker<T> {
  call: (wish: PhoneWish) => Call<T>;
  code: (made: T, wish: PhoneWish) => string | null;
}

const QrCode = lazy(() => import("./qr").then((module) => ({ default: module.QrCode })));
const SHOWN_MILLISECONDS = 120_000;

/** What a mail client is set up with, and a QR code for a phone to those who may create one. */
export function SetUp<T>(properties: {
  address: string;
  servers: readonly ClientServer[];
  maker: PhoneMaker<T> | false;
  children?: ReactNode;
}) {
  const { address, servers, maker, children } = properties;
  const [isAsked, setIsAsked] = useState(false);
  return (
    <Section
      title="Client settings"
      actions={
        maker && (
          <button type="button" onClick={() => setIsAsked(true)}>
            QR code for a phone…
          </button>
        )
      }
    >
      <p>
        User name: <code>{address}</code> <Copy text={address} what="user name" />
      </p>
      <RowTable
        caption="Servers"
        columns={COLUMNS}
        rows={servers}
        rowKey={({ protocol, port }) => `${protocol} ${port}`}
      />
      {children}
      {isAsked && maker && (
        <Phone address={address} maker={maker} close={() => setIsAsked(false)} />
      )}
    </Section>
  );
}

function Phone<T>(properties: { address: string; maker: PhoneMaker<T>; close: () => void }) {
  const { address, maker, close } = properties;
  const [code, setCode] = useState<string | null>(null);
  const create = useAction(maker.call, {
    changes: ["app-passwords"],
    said: () => "Created an app password",
    done: (made, wish) => setCode(maker.code(made, wish)),
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
        action={create}
        read={(values, key) => ({
          name: String(values.get("name")).trim(),
          displayName: String(values.get("display_name") ?? "").trim(),
          key,
        })}
        label="Create app password and show code"
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
