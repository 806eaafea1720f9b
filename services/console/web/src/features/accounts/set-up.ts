/** The text of a QR code that sets up Thunderbird for Android: a JSON array of version 1, part 1
 * of 1, the server for reading, and the servers for sending with the identities that use them. */

export interface ClientServer {
  protocol: "imap" | "pop3" | "smtp";
  host: string;
  port: number;
  security: "tls" | "starttls";
}

const LONGEST = 800;
const PROTOCOLS = { imap: 0, pop3: 1, smtp: 0 } as const;
const SECURITY = { starttls: 2, tls: 3 } as const;
const BY_PASSWORD = 1;

/** Return the text; null where mail cannot be both read and sent, or where it is too long. */
export function setUpText(
  servers: readonly ClientServer[],
  address: string,
  displayName: string,
  password: string,
): string | null {
  const reading = servers.find((server) => server.protocol !== "smtp");
  const sending = servers.find((server) => server.protocol === "smtp");
  if (reading === undefined || sending === undefined) return null;
  const head = (server: ClientServer) => [
    PROTOCOLS[server.protocol],
    server.host,
    server.port,
    SECURITY[server.security],
    BY_PASSWORD,
    address,
  ];
  const text = JSON.stringify([
    1,
    [1, 1],
    [...head(reading), address, password],
    [
      [
        [...head(sending), password],
        [address, displayName],
      ],
    ],
  ]);
  return text.length <= LONGEST ? text : null;
}
