export function setUp() {}
