/** The states of deliveries, as they stand in the address. */
export const DELIVERY_STATES = ["waiting", "delivered", "failed"] as const;
