"""What the tests share: target servers that record what reached them."""
